"""The overfitting watch warns once, and only when the gap opens."""

from types import SimpleNamespace

from plugins.overfitting import OverfittingWatch


def feed(train, held_out, patience=2):
    watch = OverfittingWatch(patience)
    args = SimpleNamespace(output_dir="runs/none")
    warnings = []
    for step, (loss, held) in enumerate(zip(train, held_out, strict=True)):
        state = SimpleNamespace(global_step=step)
        if loss is not None:
            watch.on_log(args, state, None, logs={"loss": loss})
        watch.on_evaluate(args, state, None, metrics={"eval_loss": held})
        warnings.append(watch.warning)
    return warnings


def test_warns_when_the_gap_opens_twice_in_a_row(capsys):
    warnings = feed([None, 2.5, 2.0, 1.5, 1.0], [3.0, 2.6, 2.7, 2.8, 3.0])
    assert warnings[:3] == [None, None, None]
    assert "Best so far: step 1, held-out loss 2.600" in warnings[3]
    assert capsys.readouterr().out.count("overfitting:") == 1


def test_no_warning_while_held_out_loss_falls():
    assert feed([None, 2.5, 2.0, 1.5], [3.0, 2.9, 2.8, 2.7]) == [None] * 4


def test_no_warning_when_both_rise():
    assert feed([None, 2.5, 2.7, 2.9], [3.0, 2.6, 2.7, 2.8])[-1] is None
