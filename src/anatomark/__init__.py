"""anatomark: anatomical landmarks in 2D and 3D medical images, in world millimetres.

The public names are loaded when they are first used, from the files that `__init__.pyi` names, so that
``import anatomark`` is quick.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
