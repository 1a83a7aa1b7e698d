"""makemore in JAX: pure forward functions and hand-derived vector-Jacobian functions.

The public names stand in ``__init__.pyi`` and are loaded on first use (PEP 562), so that
``import jaxmore`` and ``jaxmore --help`` do not wait for JAX.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
