"""Libraries say nothing where nobody asked them."""

import logging
import sys
import warnings

from recipes.runner.core.quiet import quiet


def chatter() -> None:
    print("a banner")
    print("a bar", file=sys.stderr)
    warnings.warn("old", stacklevel=1)
    logging.getLogger("torchao").warning("can't load a kernel")


def test_within_nothing_is_said_and_after_it_all_is(capfd, caplog):
    before = logging.root.manager.disable
    with quiet():
        chatter()
        with quiet():
            chatter()
        chatter()  # the inner one's end is not the outer one's
    said = capfd.readouterr()
    assert said.out == said.err == "" and not caplog.records
    assert logging.root.manager.disable == before
