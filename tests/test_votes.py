import numpy as np
import torch

from anatomark import Grid, votes


def test_patch_centers_are_those_of_the_strided_grid() -> None:
    grid = Grid.from_geometry((12, 20), spacing=(0.5, 2.0), origin=(3, -7), direction=[[0, -1], [1, 0]])
    index = votes.patch_centers((3, 5), (4, 4)).movedim(0, -1).numpy()
    np.testing.assert_allclose(grid.index_to_world(index), grid.strided(4).centers())


def test_patch_of_uses_floor_so_points_before_the_array_are_outside() -> None:
    points = torch.tensor([[-0.6, 0.0], [-0.5, 3.49], [3.5, 7.6], [-8.6, 100.0]])
    assert votes.patch_index(points, (4, 4)).tolist() == [[-1, 0], [0, 0], [1, 2], [-3, 25]]


def test_every_patch_holds_its_own_centre() -> None:
    for stride in (2, 8, 32):
        centers = votes.patch_centers((5, 7), (stride, stride)).movedim(0, -1)
        expected = torch.stack(torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij"), -1)
        assert torch.equal(votes.patch_index(centers, (stride, stride)), expected)


def test_decode_inverts_encode() -> None:
    displacement = torch.linspace(-900, 900, 1001)
    torch.testing.assert_close(votes.decode(votes.encode(displacement)), displacement, rtol=1e-4, atol=1e-3)


def test_votes_are_averaged_after_decoding_not_in_log_space() -> None:
    cast = torch.tensor([0.0, 90.0]).view(1, 1, 1, 2)
    mean, spread = votes.weighted_mean(cast, torch.tensor([0.5, 0.5]).view(1, 1, 2))
    assert mean.item() == 45.0
    assert spread.item() == 45.0
    in_log_space = votes.decode(votes.encode(cast).mean()).item()
    assert abs(in_log_space - 45) > 30  # the trap would be far off


def test_combine_weighs_votes_by_their_posterior_and_survives_no_posterior_at_all() -> None:
    cast = torch.tensor([[1.0, 5.0, 100.0], [2.0, 2.0, 100.0]]).view(1, 1, 2, 3)
    mean, spread = votes.weighted_mean(cast, torch.tensor([3.0, 1.0, 0.0]).view(1, 1, 3))
    torch.testing.assert_close(mean, torch.tensor([[[2.0, 2.0]]]))
    torch.testing.assert_close(spread, torch.tensor([[3.0**0.5]]))
    mean, spread = votes.weighted_mean(cast, torch.zeros(1, 1, 3))
    assert torch.isfinite(mean).all()
    assert torch.isfinite(spread).all()


def test_posterior_mass_gathers_a_landmark_on_a_patch_border() -> None:
    for shape in ((6, 9), (5, 6, 7)):
        posterior = torch.zeros(1, 2, *shape)
        posterior[(0, 0, *(slice(2, 4) for _ in shape))] = 1 / 2 ** len(shape)  # shared by the neighbours of a corner
        mass = votes.posterior_mass(posterior)
        torch.testing.assert_close(mass, torch.tensor([[1.0, 0.0]]))
