"""What a run shows of itself now and then: grids of pictures, and films of clips where its system makes any."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from gansweep.clips import Clips, coders, strips, write_film
from gansweep.grids import save_grid
from gansweep.observe import GRID_COLUMNS, Observer
from gansweep.runs.tracker import Tracker
from gansweep.runs.writer import Copier, Writer

# Where films are, in the run's directory and in the tracker; grids of their frames have the same name among grids.
CLIPS = "clips"


class Gallery:
    """Writes what an observer sees into the run's directory, beside the step where there is a thread for it."""

    def __init__(self, observer: Observer, tracker: Tracker, run_dir: Path, copier: Copier, writer: Writer) -> None:
        self.observer, self.tracker, self.run_dir = observer, tracker, run_dir
        self.copier, self.writer = copier, writer
        self._films = coders() is not None

    def show(self, step: int) -> None:
        """Hang the grids of `step`, and its clips: a grid of frames always, a film where PyAV is installed."""
        for key, images in self.observer.grids().items():
            self.hang(key, images, step)
        clips = self.observer.clips()
        if clips is not None:
            self.play(clips, step)

    def hang(self, key: str, images: Tensor, step: int) -> None:
        """Write one grid, GRID_COLUMNS to a row."""
        path, taken = self._grid(key, step), self.copier.take(images)
        self.writer.put(
            lambda: save_grid(taken(), path, GRID_COLUMNS), lambda written: self.tracker.image(key, written, step)
        )

    def play(self, clips: Clips, step: int) -> None:
        """Write clips: `grids/clips/step-N.png`, and `clips/step-N.mp4`, which is an artifact of the tracker."""
        taken = self.copier.take(clips._asdict())

        def write() -> list[Path]:
            there = Clips(**taken())
            frames, columns = strips(there)
            written = [save_grid(frames, self._grid(CLIPS, step), columns)]
            if self._films:
                written.append(write_film(there, self.run_dir / CLIPS / f"step-{step:08d}.mp4"))
            return written

        def tell(written: list[Path]) -> None:
            self.tracker.image(CLIPS, written[0], step)
            for film in written[1:]:
                self.tracker.file(film, CLIPS)

        self.writer.put(write, tell)

    def _grid(self, key: str, step: int) -> Path:
        return self.run_dir / "grids" / key / f"step-{step:08d}.png"
