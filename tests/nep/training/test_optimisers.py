from __future__ import annotations

import numpy as np
import pytest

from mgflows.errors import InputError
from mgflows.nep.training.model import Shape
from mgflows.nep.training.optimisers import SOAP, make_optimiser
from mgflows.nep.training.schedule import CosineSchedule
from mgflows.nep.training.settings import TrainingSettings

SHAPE = Shape(2, 3, 3, 4, 4, 2, False, False, 5)


def descend(name: str, steps: int, rate: float) -> float:
    """Value of a badly scaled, rotated quadratic form of every matrix after a descent."""
    rng = np.random.default_rng(1)
    optimiser = make_optimiser(name, SHAPE)
    forms = {}
    for block, shape in SHAPE.blocks.items():
        if len(shape) == 3:
            # Curvatures over four decades along directions that are not those of the axes.
            left = np.linalg.qr(rng.normal(size=(shape[1], shape[1])))[0] * np.logspace(
                0, -2, shape[1]
            )
            right = np.linalg.qr(rng.normal(size=(shape[2], shape[2])))[0] * np.logspace(
                0, -2, shape[2]
            )
            forms[block] = (left, right)
    x = rng.normal(size=SHAPE.n_parameters)

    def gradient_and_value() -> tuple[np.ndarray, float]:
        gradient, value = np.zeros_like(x), 0.0
        for block, (left, right) in forms.items():
            part = left.T @ SHAPE.split(x)[block] @ right
            value += 0.5 * float(np.sum(part**2))
            SHAPE.split(gradient)[block][:] = left @ part @ right.T
        return gradient, value

    schedule = CosineSchedule(rate, 1e-4 * rate, 0, steps)
    for step in range(steps):
        x -= schedule.rate(step) * optimiser.update(gradient_and_value()[0])
    return gradient_and_value()[1]


def test_soap_is_faster_than_adam_where_the_directions_are_mixed() -> None:
    adam = min(descend("adam", 300, rate) for rate in (0.01, 0.03, 0.1))
    soap = min(descend("soap", 300, rate) for rate in (0.01, 0.03, 0.1))
    assert soap < 0.2 * adam


def test_adam_is_that_of_torch() -> None:
    import torch

    rng = np.random.default_rng(2)
    start = rng.normal(size=SHAPE.n_parameters)
    parameter = torch.nn.Parameter(torch.tensor(start))
    reference = torch.optim.Adam([parameter], lr=0.01)
    ours, x = make_optimiser("adam", SHAPE), start.copy()
    for _ in range(20):
        gradient = rng.normal(size=SHAPE.n_parameters)
        parameter.grad = torch.tensor(gradient)
        reference.step()
        x -= 0.01 * ours.update(gradient)
    np.testing.assert_allclose(x, parameter.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("name", ["soap", "adam"])
def test_a_restored_optimiser_continues_bit_by_bit(name) -> None:
    rng = np.random.default_rng(3)
    gradients = rng.normal(size=(40, SHAPE.n_parameters))
    first, second = make_optimiser(name, SHAPE), make_optimiser(name, SHAPE)
    for gradient in gradients[:25]:
        first.update(gradient)
    second.restore(first.state())
    for gradient in gradients[25:]:
        np.testing.assert_array_equal(first.update(gradient), second.update(gradient))


def test_soap_turns_the_first_update_into_a_step_of_equal_length_everywhere() -> None:
    # A gradient of rank one: its only eigendirection gets the step 1, like any number under Adam.
    gradient = np.zeros(SHAPE.n_parameters)
    part = SHAPE.split(gradient)["hidden"]
    part[0] = np.outer([1.0, 2.0, 0.0, 0.0, 0.0], np.arange(part.shape[2]))
    step = SHAPE.split(SOAP(SHAPE).update(gradient))["hidden"][0]
    np.testing.assert_allclose(step, part[0] / np.linalg.norm(part[0]), atol=1e-6)


def test_the_schedule_ends_at_its_last_rate_and_can_be_shortened() -> None:
    schedule = CosineSchedule(0.02, 1e-4, 0, 1000)
    assert schedule.rate(0) == pytest.approx(0.02)
    assert schedule.rate(999) == pytest.approx(1e-4)
    short = schedule.shortened(400)
    assert (short.end, short.rate(400)) == (440, pytest.approx(schedule.rate(400)))
    assert short.rate(439) == pytest.approx(1e-4)


def test_settings_are_checked_and_read_back() -> None:
    settings = TrainingSettings(optimiser="adam", subset_weights={"crystal": 0.5}, plateau=100)
    assert TrainingSettings.from_text(settings.to_text()) == settings
    for values, message in (
        ({"optimiser": "sgd"}, "optimiser is 'sgd' but must be one of: soap, adam"),
        ({"averaging": 1.0}, "averaging is 1 "),
        ({"gradient_clip": 0.0}, "gradient_clip is 0 "),
        ({"plateau": 0}, "plateau is 0 "),
        ({"cache": -1.0}, "cache is -1 "),
        ({"subset_weights": {"aimd": -1.0}}, "weight of subset aimd is -1 "),
    ):
        with pytest.raises(InputError, match=message):
            TrainingSettings(**values)
    with pytest.raises(InputError, match="unknown setting 'optimizer'; known are"):
        TrainingSettings.from_text('{"optimizer": "soap"}')
