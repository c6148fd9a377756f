"""The page: built on gradio, every text of a user or a model escaped by the template engine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets_prep.crisis import HELP_NOTICE
from eval.chat.conversation import ARMS_OF, ChatThread, Who
from eval.chat.exchange import exchange
from eval.chat.figures import figures_in_words
from eval.chat.model_process import ModelProcess
from eval.chat.session import NOT_A_CLINICIAN, Session
from eval.report.templating import page_environment

# Set before gradio is imported: it phones home otherwise.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr

TEMPLATES = Path(__file__).parent / "templates"
LABELS = {"base": "Base", "tuned": "Tuned"}
SWITCH = [("Tuned", "tuned"), ("Base", "base"), ("Side by side", "both")]
# Answers of this many users take turns on the model; more wait in line.
USERS_AT_ONCE = 8
_SECONDS_BETWEEN_UPDATES = 0.05

_environment = page_environment(TEMPLATES)
_environment.filters["in_words"] = figures_in_words
# The clipboard and the disk are the user's: the file is made in the browser, not on the server.
_SAVE = """
(text, name) => {
  if (!text) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/json"}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
"""


def thread_html(conversation: ChatThread | None) -> str:
    """All turns as HTML."""
    turns = [
        {
            "user": turn.user,
            "replies": [(arm, turn.replies[arm]) for arm in ARMS_OF["both"] if arm in turn.replies],
        }
        for turn in (conversation.turns if conversation else [])
    ]
    return _environment.get_template("thread.html.j2").render(turns=turns, labels=LABELS)


def notice_html() -> str:
    """The crisis notice, from the one text that eval holds."""
    return _environment.get_template("notice.html.j2").render(lines=HELP_NOTICE.splitlines())


class Page:
    """The handlers of the page, one method an event.

    Args:
        session: the run that is talked to.
        model: its process.
    """

    def __init__(self, session: Session, model: ModelProcess) -> None:
        self.session, self.model = session, model

    def send(
        self, message: str, conversation: ChatThread | None, who: Who
    ) -> Iterator[dict[Any, Any]]:
        """Answer one message; yields what changes on the page."""
        conversation = conversation or ChatThread()
        if not message.strip():
            yield {self.state: conversation}
            return
        shown, last = False, 0.0
        for event in exchange(self.model, conversation, message, who, self.session.settings):
            changes: dict[Any, Any] = {}
            if conversation.in_crisis and not shown:
                shown = True
                changes[self.notice] = notice_html()
            if event["kind"] == "asked":
                changes |= {
                    self.state: conversation,
                    self.message: "",
                    self.send_button: gr.update(visible=False),
                    self.stop_button: gr.update(visible=True),
                }
            elif not changes and time.monotonic() - last < _SECONDS_BETWEEN_UPDATES:
                continue
            last = time.monotonic()
            yield {**changes, self.thread: thread_html(conversation)}
        yield {
            self.thread: thread_html(conversation),
            self.send_button: gr.update(visible=True),
            self.stop_button: gr.update(visible=False),
        }

    def stop(self, conversation: ChatThread | None) -> None:
        """Stop this user's answers; what there is of them stays."""
        if conversation:
            self.model.stop(conversation.id)

    def begin_anew(self, conversation: ChatThread | None) -> dict[Any, Any]:
        """Forget the conversation."""
        self.stop(conversation)
        return {
            self.state: None,
            self.thread: thread_html(None),
            self.notice: "",
        }

    def export(self, conversation: ChatThread | None) -> dict[Any, Any]:
        """The conversation as a file's content and name."""
        if not conversation or not conversation.turns:
            gr.Info("There is nothing to save yet.")
            return {self.file: "", self.file_name: ""}
        return {
            self.file: self.session.export(conversation),
            self.file_name: f"chat-{conversation.id[:8]}.json",
        }

    def build(self) -> gr.Blocks:
        """Lay the page out and wire it."""
        with gr.Blocks(
            title=f"Chat with {self.session.run.name}", analytics_enabled=False, fill_height=True
        ) as blocks:
            self.state = gr.State(None)
            self._lay_out()
            self._wire()
        return blocks

    def _lay_out(self) -> None:
        with gr.Row(elem_id="head"):
            with gr.Column(scale=3, min_width=260):
                gr.HTML(self._heading())
            self.who = gr.Radio(
                SWITCH, value="tuned", label="Who answers", elem_id="who", scale=2, min_width=260
            )
        self.thread = gr.HTML(thread_html(None), elem_id="thread")
        # Always there, and empty until it is needed: gradio does not bring back what was made
        # invisible while it was invisible already.
        self.notice = gr.HTML("", elem_id="notice")
        with gr.Row(elem_id="composer"):
            self.message = gr.Textbox(
                label="Your message",
                placeholder="Write a message",
                show_label=False,
                container=False,
                lines=1,
                max_lines=8,
                autofocus=True,
                elem_id="message",
                scale=8,
            )
            self.send_button = gr.Button("Send", variant="primary", elem_id="send", min_width=90)
            self.stop_button = gr.Button(
                "Stop", variant="stop", elem_id="stop", min_width=90, visible=False
            )
        with gr.Row(elem_id="foot"):
            self.new_button = gr.Button("New conversation", size="sm", elem_id="new")
            self.export_button = gr.Button("Save as JSON", size="sm", elem_id="export")
        self.file = gr.Textbox(visible="hidden", elem_id="file")
        self.file_name = gr.Textbox(visible="hidden")

    def _heading(self) -> str:
        return _environment.get_template("heading.html.j2").render(
            run=self.session.run.name,
            base_model=self.session.run.base_model,
            caution=NOT_A_CLINICIAN,
            settings=self.session.settings,
        )

    def _wire(self) -> None:
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        gr.on(
            [self.message.submit, self.send_button.click],
            self.send,
            inputs=[self.message, self.state, self.who],
            outputs=[
                self.state, self.thread, self.notice, self.message, self.send_button,
                self.stop_button,
            ],
            concurrency_limit=USERS_AT_ONCE,
            trigger_mode="once",
            **private,
        )  # fmt: skip
        self.stop_button.click(self.stop, self.state, None, queue=False, **private)
        self.new_button.click(
            self.begin_anew, self.state, [self.state, self.thread, self.notice], **private
        )
        self.export_button.click(
            self.export, self.state, [self.file, self.file_name], **private
        ).then(None, [self.file, self.file_name], None, js=_SAVE, **private)
