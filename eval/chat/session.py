"""What a chat is with: the run, how it answers, and what is said about it."""

from __future__ import annotations

from dataclasses import dataclass

from eval.chat.conversation import ChatThread
from eval.chat.settings import ChatSettings, settings_of
from recipes.runner.run.finished import Run

NOT_A_CLINICIAN = (
    "This is a computer program and not a clinician. It can be wrong, it gives no medical advice, "
    "and it does not replace care by people."
)


@dataclass(frozen=True)
class Session:
    """One run that is talked to.

    Attributes:
        run: its adapter is the tuned arm.
        settings: of every answer.
    """

    run: Run
    settings: ChatSettings

    @property
    def title(self) -> str:
        """The run and its base, for a heading."""
        return f"{self.run.name} on {self.run.base_model}"

    def export(self, conversation: ChatThread) -> str:
        """See `ChatThread.export`."""
        return conversation.export(self.run.name, self.run.base_model, self.settings)


def open_session(run: Run) -> Session:
    """Check a run as far as that goes without loading it.

    Raises:
        UserError: it holds no adapter, or one for another base.
    """
    run.check_adapter()
    return Session(run, settings_of(run.config))
