"""matplotlib's windows as PNG files: the backend that `python -m tinyrnn run` names where there is no display.

`plt.show()` writes every open figure to `<program>-figure-N.png` in the current directory, says so on stderr, and
closes them, as a user who looks at the windows would. Figures that never block (`plt.ion()`, `plt.pause()`,
`show(block=False)`) are written once, as they stand when the program ends.

matplotlib imports this module when the first figure is made, so a program without figures pays nothing for it.
"""

import atexit
import functools
import itertools
import logging
import sys
import warnings
from pathlib import Path

import matplotlib
from matplotlib._pylab_helpers import Gcf
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg

# A font that this machine lacks is no news in the log of a training run; the picture shows it.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message=r"(?s)Glyph .* missing from")

_number = itertools.count(1)


def save_open_figures() -> None:
    """Write every open figure to a file of its own, and close it."""
    program = Path(getattr(sys.modules["__main__"], "__file__", None) or "program").stem
    for manager in Gcf.get_all_fig_managers():
        path = f"{program}-figure-{next(_number)}.png"
        manager.canvas.figure.savefig(path)
        print(f"saved {path}", file=sys.stderr)
    Gcf.destroy_all()


@functools.cache
def save_at_exit() -> None:
    atexit.register(save_open_figures)


class FigureManager(FigureManagerBase):
    @classmethod
    def pyplot_show(cls, *, block: bool | None = None) -> None:
        if block or (block is None and not matplotlib.is_interactive()):
            save_open_figures()
        else:
            save_at_exit()


class FigureCanvas(FigureCanvasAgg):
    manager_class = FigureManager
