"""Which settings Optuna chooses and from what: Hydra's grammar of sweeps, Optuna's distributions.

KEY=A,B  KEY=choice(A,B)        one of these, in no order
KEY=range(1,9)  KEY=range(0,1,0.25)    one of these numbers, in their order; the end is not in
KEY=interval(0.2,0.9)           a number between, the ends included
KEY=int(interval(1,9))          a whole number; also KEY=tag(int, interval(1,9))
KEY=tag(log, interval(0.001,1)) by its logarithm
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from bgexp.config.compose import parse_overrides
from bgexp.errors import UserError

DIGITS = 4  # of a number from an interval: what people can read and repeat


@dataclass(frozen=True)
class Space:
    """The search space of a study: overrides of all trials, and those chosen for each.

    Attributes:
        fixed: Overrides of every trial.
        free: By key, the distribution from which a value is chosen.
    """

    fixed: tuple[str, ...]
    free: Mapping[str, BaseDistribution]

    def make_overrides(self, chosen: Mapping[str, Any]) -> list[str]:
        """Return the overrides of a trial, from a value for each free key."""
        varied = [f"{key}={_format(values, chosen[key])}" for key, values in self.free.items()]
        return [*self.fixed, *varied]

    def list_corners(self) -> list[list[str]]:
        """Return the first values of all keys, and each other end or choice of one key at a time.

        Not all combinations of them: with many keys those would take longer than a trial.
        """
        ends = {key: _list_end_values(values) for key, values in self.free.items()}
        first = {key: values[0] for key, values in ends.items()}
        other_ends = [{**first, key: value} for key, values in ends.items() for value in values[1:]]
        return [self.make_overrides(chosen) for chosen in (first, *other_ends)]


def read_space(config: DictConfig, overrides: Sequence[str]) -> Space:
    """Read the space of a command line; what an experiment's own config sweeps is part of it.

    Raises:
        UserError: nothing is left to choose, or a value has no distribution.
    """
    stored = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    fixed, free = [], {}
    for override in parse_overrides([*stored, *overrides]):
        key = override.get_key_element()
        if key.partition(".")[0] == "sweep":
            continue
        if override.is_sweep_override():
            free[key] = _build_distribution(override)
        else:
            fixed.append(str(override.input_line))
    if not free:
        raise UserError("sweep=optuna: nothing to choose (give KEY=A,B or KEY=interval(0.2,0.9))")
    return Space(tuple(fixed), free)


def _build_distribution(override: Override) -> BaseDistribution:
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            return _convert_interval(value)
        options = list(dict.fromkeys(override.sweep_string_iterator()))
        if not options:
            raise ValueError("there is none")
        if isinstance(value, RangeSweep) and not value.shuffle:
            return _convert_range(value, sorted(map(float, options)))
        return CategoricalDistribution(options)
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{override.input_line}: no values to choose from ({reason})") from error


def _convert_interval(sweep: IntervalSweep) -> BaseDistribution:
    low, high = sweep.start, sweep.end
    if low is None or high is None:
        raise ValueError("an interval has two ends")
    log = "log" in sweep.tags
    if "int" in sweep.tags or isinstance(low, int):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _convert_range(sweep: RangeSweep, numbers: list[float]) -> BaseDistribution:
    whole = all(isinstance(part, int) for part in (sweep.start, sweep.stop, sweep.step))
    low, high, step = numbers[0], numbers[-1], abs(float(sweep.step))
    if whole:
        return IntDistribution(int(low), int(high), step=int(step))
    return FloatDistribution(low, high, step=step)


def _list_end_values(values: BaseDistribution) -> list[Any]:
    if isinstance(values, CategoricalDistribution):
        return list(values.choices)
    assert isinstance(values, IntDistribution | FloatDistribution)
    return list(dict.fromkeys((values.low, values.high)))


def _format(values: BaseDistribution, value: object) -> str:
    """Format a chosen value as an override has it."""
    if not isinstance(values, FloatDistribution):
        return str(value)
    if values.step is not None:
        return f"{value:.10g}"
    return f"{min(max(float(f'{value:.{DIGITS}g}'), values.low), values.high):.10g}"
