"""A sweep that chooses: Optuna proposes the settings of each job from how the earlier ones did."""

from bgexp.optimize.command import optimize
from bgexp.optimize.space import Space, read_space

__all__ = ["Space", "optimize", "read_space"]
