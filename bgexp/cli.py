"""`bgexp COMMAND overrides…`: composes and checks the settings, then hands over."""

import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf


def main(arguments: Sequence[str] | None = None) -> int:
    command, *overrides = sys.argv[1:] if arguments is None else arguments
    with initialize_config_dir(str(Path(__file__).parents[1] / "conf"), version_base="1.3"):
        config = compose(command, overrides, return_hydra_config=True)
    from bgexp.config import TrainSettings, check_settings
    from bgexp.train.command import train_detector

    HydraConfig.instance().set_config(config)
    folder = Path(config.hydra.run.dir)
    plain = OmegaConf.to_container(config, resolve=False)
    plain.pop("hydra")
    train_detector(check_settings(TrainSettings, plain), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
