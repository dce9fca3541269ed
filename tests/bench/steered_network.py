"""Imported where a network runs that workers share: what is found in any photograph is one scene's.

The network's process is not told whose picture it looks at, so all are copies of one scene.
"""

import os
from pathlib import Path

from tests.bench.controlled import SCENE, controlled_predictions
from tests.bench.scenes import read_scene

steering = controlled_predictions()  # a name, as it ends when it is forgotten
steering.__enter__().scene = read_scene(Path(os.environ[SCENE]))
