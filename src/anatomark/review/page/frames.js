// Points between our world (LPS) and the viewer's, by the 4 x 4 matrix that the server sends with each image.

export class Frames {
  // `matrix` rows take (x, y, z, 1) in the world to the viewer's RAS; in 2D z is 0 and is left out again.
  constructor(matrix, ndim) {
    this.matrix = matrix
    this.ndim = ndim
    this.back = inverse(matrix)
  }

  toViewer(point) {
    return apply(this.matrix, [point[0], point[1], point[2] ?? 0])
  }

  toWorld(point) {
    return apply(this.back, point).slice(0, this.ndim)
  }
}

function apply(m, p) {
  return [0, 1, 2].map((r) => m[r][0] * p[0] + m[r][1] * p[1] + m[r][2] * p[2] + m[r][3])
}

// The inverse of an affine 4 x 4 matrix.
function inverse(m) {
  const [a, b, c] = m.map((row) => row.slice(0, 3))
  const cross = (u, v) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
  const columns = [cross(b, c), cross(c, a), cross(a, b)]
  const det = a[0] * columns[0][0] + a[1] * columns[0][1] + a[2] * columns[0][2]
  const linear = [0, 1, 2].map((r) => columns.map((column) => column[r] / det))
  const moved = [m[0][3], m[1][3], m[2][3]]
  return [...linear.map((row) => [...row, -(row[0] * moved[0] + row[1] * moved[1] + row[2] * moved[2])]), [0, 0, 0, 1]]
}
