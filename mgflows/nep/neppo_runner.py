"""Train with neppo in a directory, from scratch or from a potential.

``python -m mgflows.nep.neppo_runner --device cpu``

neppo's own command line starts from random parameters only; this runner adds the warm start, which
neppo's library offers. It runs in a separate process so that torch never enters ours.
"""

from __future__ import annotations

import argparse
import logging
import sys
from importlib.util import find_spec
from pathlib import Path

from mgflows.nep.parameters import NepParameters


def run(directory: Path, device: str, initial_potential: Path | None, first_step: int) -> None:
    """Train with the ``nep.in`` of a directory and write neppo's files into it.

    Parameters
    ----------
    directory
        Contains ``nep.in``, ``train.xyz`` and, if there are test frames, ``test.xyz``.
    device
        Torch's name of the device: ``cpu``, ``cuda`` or ``cuda:1``.
    initial_potential
        A ``nep.txt`` to start from instead of random parameters; its descriptor scaling is kept.
    first_step
        Steps done before an interruption. The schedule of the learning rate continues from there;
        AdamW's moments start from zero, as after each of neppo's stages.
    """
    import torch
    from ase.io import read
    from neppo import StructureContainer
    from neppo.io import read_model
    from neppo.nep_in import get_loss, get_model, get_stages, read_nep_in
    from neppo.trainer import Trainer, get_cosine_learning_rate

    speed_up()
    parameters = NepParameters.from_text((directory / "nep.in").read_text(encoding="utf-8"))
    settings = read_nep_in(directory / "nep.in")
    seed = 42 if parameters.seed is None else parameters.seed
    torch.manual_seed(seed)
    model = (
        get_model(settings, directory)
        if initial_potential is None
        else read_model(initial_potential)
    )
    frames = {
        name: StructureContainer(model, read(path, ":"))
        for name in ("train", "test")
        if (path := directory / f"{name}.xyz").exists()
    }
    (stage,) = get_stages(settings)
    first_rate, last_rate = (float(rate) for rate in stage["learning_rate"])
    trainer = Trainer(
        model,
        get_loss(stage, has_bec=False),
        frames["train"],
        test=frames.get("test"),
        batch_size=parameters.batch,
        learning_rate=(
            get_cosine_learning_rate((first_rate, last_rate), first_step, parameters.generation),
            last_rate,
        ),
        device=device,
        seed=seed,
        output_directory=directory,
    )
    trainer.train(
        steps=parameters.generation - first_step, report_interval=parameters.output_interval
    )


def speed_up() -> None:
    """Replace two slow parts of neppo; the results agree to rounding.

    They take more than half of a short training on a CPU.

    The neighbour lists come from ASE, which needs 30 ms for 150 atoms; matscipy needs 2 ms.
    Reports evaluate 100 frames at once, which suits a GPU; on a CPU, ten frames fit into the cache
    and take half the time per frame.
    """
    import neppo.graph
    import neppo.trainer
    import torch

    if find_spec("matscipy") is not None:
        from matscipy.neighbours import neighbour_list

        neppo.graph.neighbor_list = neighbour_list
    if not torch.cuda.is_available():
        neppo.trainer.EVALUATION_BATCH_SIZE = 10


def main() -> None:
    """Read the command line and train in the current directory, logging to standard output."""
    parser = argparse.ArgumentParser(
        description=run.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--initial-potential", type=Path)
    parser.add_argument("--first-step", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    run(Path.cwd(), options.device, options.initial_potential, options.first_step)


if __name__ == "__main__":
    main()
