from bgexp.config.load import load_settings as load_settings
from bgexp.pipeline.remove import RemovalResult as RemovalResult
from bgexp.pipeline.remover import Remover as Remover
from bgexp.pipeline.remover import remove_background as remove_background

__version__: str
