"""The chat page in a real browser, on a real (tiny) model in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tiny_chat import ATTACK

from eval.chat.__main__ import main
from eval.chat.model_process import ModelProcess
from eval.chat.server import make_app
from eval.chat.session import NOT_A_CLINICIAN, open_session
from recipes.runner.run.finished import find_run

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium here (apt install chromium chromium-driver)"
)


@pytest.fixture(scope="module")
def model(chat_run: Path) -> Iterator[ModelProcess]:
    process = ModelProcess(chat_run)
    process.start()
    yield process
    process.close()


@pytest.fixture(scope="module")
def address(chat_run: Path, model: ModelProcess) -> Iterator[str]:
    app = make_app(open_session(find_run(str(chat_run), None)), model, "127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = server.force_exit = True
    thread.join(300)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,800"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """Poll until it holds; a driver's error while the page changes counts as not yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except Exception:
            if time.monotonic() > end - 1:
                raise
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


class User:
    """Somebody at a page of their own."""

    def __init__(self, browser: webdriver.Chrome, address: str) -> None:
        self.browser = browser
        browser.switch_to.new_window("tab")
        self.tab = browser.current_window_handle
        browser.get(address)
        wait_for(lambda: self.find("#message textarea"))

    def find(self, css: str) -> list[Any]:
        self.browser.switch_to.window(self.tab)
        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def texts(self, css: str) -> list[str]:
        return [element.text for element in self.find(css)]

    def choose(self, who: str) -> None:
        next(label for label in self.find("#who label") if label.text.strip() == who).click()

    def type(self, text: str) -> None:
        box = self.find("#message textarea")[0]
        if len(text) > 1000:  # as pasting does; the driver types one key at a time
            box.click()
            self.browser.execute_cdp_cmd("Input.insertText", {"text": text})
        else:
            box.send_keys(text)
        box.send_keys(Keys.ENTER)

    def ask(self, text: str, replies: int = 1) -> list[str]:
        """Say something, wait for the end; the texts of the replies."""
        turns = len(self.find(".turn"))
        self.type(text)
        wait_for(lambda: len(self.find(".turn")) > turns)
        self.wait_for_end()
        assert len(self.find(".turn:last-child .reply")) == replies
        return self.texts(".turn:last-child .reply .text")

    def say(self, text: str) -> None:
        """Say something whose answer does not matter, and may be endless."""
        turns = len(self.find(".turn"))
        self.type(text)
        wait_for(lambda: len(self.find(".turn")) > turns)
        with contextlib.suppress(WebDriverException, IndexError):  # it has ended by itself
            self.find("#stop")[0].click()
        self.wait_for_end()

    def begin_anew(self) -> None:
        self.press("#new")
        wait_for(lambda: not self.find(".turn"))

    def wait_for_end(self) -> None:
        wait_for(lambda: not self.find(".reply.writing") and self.find("#send"))

    def press(self, button: str) -> None:
        wait_for(lambda: self.find(button))[0].click()


@pytest.fixture
def user(browser: webdriver.Chrome, address: str) -> Iterator[User]:
    yield User(browser, address)
    for tab in browser.window_handles[1:]:
        browser.switch_to.window(tab)
        browser.close()
    browser.switch_to.window(browser.window_handles[0])


def test_base_tuned_and_both_answer_in_one_conversation(user: User) -> None:
    assert NOT_A_CLINICIAN in user.find(".heading")[0].text
    tuned = user.ask("What is the capital of France?")[0]
    assert tuned and tuned != "Paris it is."
    user.choose("Base")
    user.say("And of Japan?")
    assert user.texts(".turn .reply .who") == ["Tuned", "Base"]
    user.begin_anew()
    assert user.ask("What is the capital of France?") == ["Paris it is."]
    user.begin_anew()
    user.choose("Side by side")
    base, other = user.ask("What is the capital of France?", replies=2)
    assert base == "Paris it is." and other == tuned
    assert user.texts(".turn .reply .who") == ["Base", "Tuned"]
    assert "tokens" in user.texts(".figures")[0]
    lefts = [element.location["x"] for element in user.find(".reply")]
    assert lefts[0] < lefts[1]


def test_an_answer_streams_and_stops(user: User) -> None:
    user.choose("Base")
    user.type("Sing.")
    growing: set[int] = set()
    for _ in range(2):
        wait_for(lambda: len(user.texts(".reply.writing .text")[0]) not in {0, *growing})
        growing.add(len(user.texts(".reply.writing .text")[0]))
    user.press("#stop")
    user.wait_for_end()
    said = user.texts(".reply .text")[0]
    assert said.startswith("la la la") and len(said) >= max(growing)
    assert user.texts(".note") == ["Stopped by you."]
    user.type("Sing.")
    wait_for(lambda: user.texts(".reply.writing .text")[0])
    user.find("#message textarea")[0].send_keys(Keys.ESCAPE)
    user.wait_for_end()
    assert user.texts(".note") == ["Stopped by you."] * 2


def test_the_conversation_is_saved(user: User, tmp_path: Path) -> None:
    user.browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    user.choose("Side by side")
    base, tuned = user.ask("Which animal barks?", replies=2)
    user.press("#export")
    file = wait_for(lambda: list(tmp_path.glob("chat-*.json")))[0]
    rows = wait_for(lambda: json.loads(file.read_text()))
    assert [row["arm"] for row in rows] == ["base", "tuned"]
    asked = {"role": "user", "content": "Which animal barks?"}
    assert rows[0]["messages"] == [asked, {"role": "assistant", "content": base}]
    assert rows[1]["messages"] == [asked, {"role": "assistant", "content": tuned}]
    assert rows[0]["decoding"]["temperature"] == 0.0


def test_nothing_that_a_user_or_a_model_wrote_is_run(user: User) -> None:
    user.choose("Base")
    evil = ATTACK + "{{7*7}}${7*7}<b>bold</b>"
    assert user.ask("Show me.") == [ATTACK]
    user.say(evil)
    assert user.texts(".user .text") == ["Show me.", evil]
    seen = user.browser.execute_script("return [window.hacked ?? 0, document.images.length]")
    assert seen == [0, 0]
    assert not user.find("#thread script, #thread b")


@pytest.mark.parametrize("message", ["I don't want to be alive any more", "How do I feel?"])
def test_a_crisis_on_either_side_shows_human_help(user: User, message: str) -> None:
    user.choose("Base")
    user.ask("What do bees make?")
    assert not user.find("#notice .notice")
    user.begin_anew()
    user.type(message)
    notice = wait_for(lambda: user.find("#notice .notice"))[0]
    for help in ("988", "116 123", "local emergency number", "findahelpline.com"):
        assert help in notice.text
    assert notice.get_attribute("role") == "alert"
    assert user.find("#notice a")[0].get_attribute("href") == "https://findahelpline.com/"
    with contextlib.suppress(WebDriverException, IndexError):
        user.find("#stop")[0].click()
    user.wait_for_end()
    user.say("What do bees make?")
    assert user.find("#notice .notice")  # it stays
    user.press("#new")
    wait_for(lambda: not user.find("#notice .notice"))


def test_twenty_thousand_characters_are_refused_in_words(user: User) -> None:
    user.choose("Base")
    assert user.ask("I feel low. " * 1667) == []
    assert "too long" in user.texts(".note")[0] and "send it in parts" in user.texts(".note")[0]
    assert user.ask("What is the capital of France?") == ["Paris it is."]  # not in its history


def test_two_users_at_once_have_their_own_conversations(
    user: User, browser: webdriver.Chrome, address: str
) -> None:
    other = User(browser, address)
    for somebody in (user, other):
        somebody.choose("Base")
    user.type("Sing.")
    wait_for(lambda: user.texts(".reply.writing .text")[0])
    assert other.ask("What is the capital of Japan?") == ["Tokyo it is."]
    assert user.find(".reply.writing")  # it was answered while the other still sang
    user.press("#stop")
    user.wait_for_end()
    assert user.texts(".user .text") == ["Sing."]
    assert other.texts(".user .text") == ["What is the capital of Japan?"]


def test_the_seventh_tab_of_a_browser_is_answered(
    user: User, browser: webdriver.Chrome, address: str
) -> None:
    """A browser holds six connections to a server: an open page must keep none of them."""
    tabs = [user, *(User(browser, address) for _ in range(6))]
    for tab in (tabs[-1], tabs[0]):
        tab.choose("Base")
        assert tab.ask("What is the capital of Japan?") == ["Tokyo it is."]


def test_the_death_of_the_model_is_said_and_mended(user: User, model: ModelProcess) -> None:
    user.choose("Base")
    user.type("Sing.")
    wait_for(lambda: user.texts(".reply.writing .text")[0])
    first = model.pid
    assert first
    os.kill(first, signal.SIGKILL)
    user.wait_for_end()
    assert "has died (SIGKILL" in user.texts(".reply.failed .note")[0]
    assert user.texts(".reply .text")[0].startswith("la la")  # what there was is kept
    user.begin_anew()
    assert user.ask("What is the capital of France?") == ["Paris it is."]
    assert model.pid != first


def test_a_page_that_is_closed_is_answered_no_more(user: User, model: ModelProcess) -> None:
    user.choose("Base")
    user.type("Sing.")
    wait_for(lambda: user.texts(".reply.writing .text")[0])
    user.browser.close()
    user.browser.switch_to.window(user.browser.window_handles[0])
    wait_for(lambda: not model.waiting)


def test_nothing_is_fetched_from_elsewhere(browser: webdriver.Chrome, address: str) -> None:
    """Over all that the tests before did."""
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    urls = {
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    fetched = {urlsplit(url) for url in urls if urlsplit(url).scheme not in ("data", "blob")}
    assert len(fetched) > 20
    assert {url.netloc for url in fetched} == {urlsplit(address).netloc}
    page = httpx.get(address)
    assert "https://" not in page.text.replace("https://findahelpline.com", "")
    scripts = page.headers["content-security-policy"].split("style-src")[0]
    assert "script-src 'self'" in scripts and "'unsafe-inline'" not in scripts
    assert not [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]


def test_a_foreign_name_for_this_address_is_refused(address: str) -> None:
    assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 400


def test_a_taken_port_is_one_line(
    chat_run: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(urlsplit(address).port)
    with pytest.raises(SystemExit) as caught:
        main(["--run", str(chat_run), "--port", port])
    assert caught.value.code == 1
    err = capsys.readouterr().err.strip()
    assert err.startswith(f"error: PORT: port {port}") and "in use" in err and "\n" not in err
