"""The judge with a local server: rules, cache, limits, privacy."""

import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from judge.served import JudgeRequest, completion, overlapping, serving, verdict

from lowmed.errors import RunError, SetupError
from lowmed.judge import ANSWER, CLINICAL, Judge, Query, transport
from lowmed.judge import judge as judge_module

Q = "What is seen in the left lung?"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transport, "PAUSES_SECONDS", (0.0, 0.0))
    monkeypatch.chdir(tmp_path)


def test_the_request_has_text_only_and_the_verdict_is_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWMED_JUDGE_KEY", "k")
    monkeypatch.setenv("LOWMED_API_KEY", "of the model that is evaluated")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with serving(lambda request: verdict(request, True, "fluid is an effusion")) as server:
        judge = Judge(server.url, "m")
        result = judge.verdict(Q, "pleural effusion", "fluid in the pleural space")
        assert (result.value, result.why, result.by) == (True, "fluid is an effusion", "judge")
        again = Judge(server.url + "/", "m").verdict(Q, "pleural effusion", "fluid in the pleural space")
        assert (again.value, again.why, again.by) == (True, "fluid is an effusion", "cache")
        assert judge.usage().model_dump() == {
            "host": server.url.removesuffix("/v1"),
            "model": "m",
            "rubrics": (f"answer {ANSWER.digest}",),
            "content": "question, gold answer and the text judged; never an image",
            "verdicts_by": {"rule": 0, "cache": 0, "judge": 1, "failed": 0},
            "requests": 1,
            "malformed": 0,
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "cost": None,
        }
    [request] = server.requests
    assert request.key == "Bearer k"
    assert (request.body["temperature"], request.body["response_format"]["type"]) == (0, "json_schema")
    assert all(isinstance(message["content"], str) for message in request.body["messages"])
    assert request.data == {
        "question": Q,
        "reference_answers": ["pleural effusion"],
        "candidate_answer": "fluid in the pleural space",
    }


@pytest.mark.parametrize(
    ("gold", "candidate", "value"),
    [
        ("pleural effusion", "Pleural effusion.", True),
        ("5 mm", "5mm", True),
        ("lung, liver", "liver and lung", True),
        (["ct", "computed tomography"], "Computed Tomography", True),
        ("pleural effusion", "", False),
        ("pleural effusion", ":", False),
        ("pleural effusion", "I cannot tell from this image", False),
        ("left lung", "right lung", False),
        ("upper lobe", "the lower lobe", False),
    ],
)
def test_verdicts_by_rule_need_no_request(gold: str | list[str], candidate: str, value: bool) -> None:
    with serving() as server:
        result = Judge(server.url, "m").verdict(Q, gold, candidate)
    assert (result.value, result.by, server.requests) == (value, "rule", [])


def test_a_polarity_contradiction_is_left_to_the_judge() -> None:
    with serving(lambda request: verdict(request, True)) as server:
        assert Judge(server.url, "m").verdict(Q, "no abnormality", "the lungs are clear").by == "judge"


def test_a_run_stops_above_five_percent_failures_and_keeps_its_verdicts() -> None:
    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        return completion("no idea") if request.candidate.endswith(("0", "5")) else verdict(request, True)

    queries = [Query(ANSWER, Q, ("effusion",), f"fluid {number}") for number in range(200)]
    with serving(respond) as server:
        judge = Judge(server.url, "m")
        with pytest.raises(RunError, match="more than 5%"):
            judge.ask_all(queries)
        assert len(server.requests) < 160  # it stopped before the end
        server.respond = lambda request: verdict(request, True)
        count = len(server.requests)
        results = Judge(server.url, "m").ask_all(queries)
        assert all(result.value for result in results)
        kept = sum(result.by == "cache" for result in results)
        assert kept > 0
        late = len(server.requests) - count - (200 - kept)  # of the first job, which were on their way when it ended
        assert 0 <= late <= 8


def test_a_few_failures_stop_a_short_batch_only_if_it_is_the_last() -> None:
    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        return (500, b"") if request.candidate == "fluid 3" else verdict(request, True)

    queries = [Query(ANSWER, Q, ("effusion",), f"fluid {number}") for number in range(10)]
    with serving(respond) as server:
        judge = Judge(server.url, "m")
        assert [result.value for result in judge.ask_all(queries)].count(None) == 1
        count = len(server.requests)
        assert judge.ask(queries[3]).value is None  # the failure is repeated without a request
        assert len(server.requests) == count
        with pytest.raises(RunError, match="1 of 10"):
            Judge(server.url, "m", cache=Path("other.sqlite")).ask_all(queries, strict=True)


def test_a_batch_is_sent_concurrently_up_to_the_limit_and_equal_queries_once() -> None:
    together = threading.Barrier(judge_module.CONCURRENT_REQUESTS)

    def respond(request: JudgeRequest) -> tuple[int, bytes]:
        together.wait(10)  # no response before the allowed number of requests has arrived
        return overlapping(request)

    words = ["effusion of fluid", "fluid", "air", "a mass", "scar", "blood", "pus", "a stent"]
    queries = [Query(ANSWER, Q, ("effusion",), word) for word in words]
    with serving(respond) as server:
        judge = Judge(server.url, "m")
        result = judge.ask_all(queries * 3)
    assert [each.value for each in result] == ([True] + [False] * 7) * 3
    assert len(server.requests) == 8
    assert server.most_inside == judge_module.CONCURRENT_REQUESTS
    assert judge.ask_all([]) == []


@pytest.mark.parametrize(
    "other",
    [
        lambda url: (Judge(url, "another model"), Query(ANSWER, Q, ("effusion",), "fluid")),
        lambda url: (Judge(url.replace("127.0.0.1", "localhost"), "m"), Query(ANSWER, Q, ("effusion",), "fluid")),
        lambda url: (Judge(url, "m"), Query(ANSWER, Q + " ", ("effusion",), "fluid")),
        lambda url: (Judge(url, "m"), Query(ANSWER, Q, ("effusions",), "fluid")),
        lambda url: (Judge(url, "m"), Query(ANSWER, Q, ("effusion", "air"), "fluid")),
        lambda url: (Judge(url, "m"), Query(ANSWER, Q, ("effusion",), "fluids")),
        lambda url: (Judge(url, "m"), Query(CLINICAL, Q, ("effusion",), "fluid")),
    ],
)
def test_the_cache_requires_equality_in_everything(other: Callable[[str], tuple[Judge, Query]]) -> None:
    with serving(lambda request: verdict(request, True)) as server:
        Judge(server.url, "m").ask(Query(ANSWER, Q, ("effusion",), "fluid"))
        judge, query = other(server.url)
        assert judge.ask(query).by == "judge"


def test_the_cache_holds_no_question_and_only_its_owner_can_read_it() -> None:
    with serving(lambda request: verdict(request, True, "r")) as server:
        Judge(server.url, "m").verdict("a secret question", "a secret gold answer", "a secret completion")
    assert b"secret" not in judge_module.CACHE.read_bytes()
    assert judge_module.CACHE.stat().st_mode & 0o077 == 0


def test_a_file_that_is_not_a_cache_is_rejected() -> None:
    Path("broken.sqlite").write_bytes(b"not a data base, and longer than its header would be" * 20)
    with serving() as server, pytest.raises(SetupError, match="not a cache"):
        Judge(server.url, "m", cache=Path("broken.sqlite")).verdict(Q, "effusion", "fluid")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://here/v1", "", "http:///v1", "http://[::1/v1", "http://h:99999"]
)
def test_an_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(SetupError, match="URL is invalid"):
        Judge(url, "m")


@pytest.mark.parametrize("url", ["http://me:secret@judge.example/v1", "https://judge.example/v1?key=secret"])
def test_a_key_in_the_url_is_rejected_and_not_repeated(url: str) -> None:
    with pytest.raises(SetupError) as raised:
        Judge(url, "m")
    assert "secret" not in str(raised.value)


def test_offline_mode_rejects_a_judge_on_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOWMED_OFFLINE", "1")
    with pytest.raises(SetupError, match="forbids"):
        Judge("https://judge.example/v1", "m")
    Judge("http://[::1]:8000/v1", "m")


def test_a_judge_can_be_pickled_and_counts_its_cost() -> None:
    with serving(lambda request: verdict(request, True)) as server:
        judge = Judge(server.url, "m", prices=(2.0, 8.0))
        judge.verdict(Q, "effusion", "fluid")
        assert judge.usage().cost == pytest.approx((100 * 2 + 10 * 8) / 1e6)
        other = pickle.loads(pickle.dumps(judge))  # noqa: S301  written in this very line
        assert other == judge
        assert other.verdict(Q, "effusion", "fluid").by == "cache"
        assert other.usage().requests == 0
