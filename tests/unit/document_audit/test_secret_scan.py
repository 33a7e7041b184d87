"""Secrets: those that are there are found, what only looks like one is not, none is shown."""

from __future__ import annotations

import base64
import json

import pytest

from document_audit.findings import blank_out, to_findings
from document_audit.secret_scan import find_secrets, looks_random
from support.labelled_folder import ALNUM, UPPER, drawing, token


def found_in(text, *, is_code=False):
    findings, _ = to_findings(text, find_secrets(text, is_code=is_code))
    return findings


def rules(text, *, is_code=False):
    return [finding.rule for finding in found_in(text, is_code=is_code)]


def web_token(draw):
    head = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode()).decode()
    body = base64.urlsafe_b64encode(json.dumps({"sub": token(draw, 12)}).encode()).decode()
    return f"{head.rstrip('=')}.{body.rstrip('=')}.{token(draw, 43)}"


def private_key(draw, kind="RSA "):
    body = "\n".join(token(draw, 64) for _ in range(6))
    return f"-----BEGIN {kind}{'PRIVATE'} KEY-----\n{body}\n-----END {kind}{'PRIVATE'} KEY-----"


# The rule, the public beginning, and what makes the secret part; each is put together here
# so that this file holds none.
TOKENS = [
    ("AWS access key", "AK" + "IA", lambda d: token(d, 16, UPPER)),
    ("AWS access key", "AS" + "IA", lambda d: token(d, 16, UPPER)),
    ("Google API key", "AI" + "za", lambda d: token(d, 35)),
    ("Google client secret", "GOCS" + "PX-", lambda d: token(d, 28)),
    ("GitHub token", "gh" + "p_", lambda d: token(d, 36)),
    ("GitHub token", "gh" + "s_", lambda d: token(d, 36)),
    ("GitHub token", "github" + "_pat_", lambda d: f"{token(d, 22)}_{token(d, 59)}"),
    ("GitLab token", "gl" + "pat-", lambda d: token(d, 20)),
    ("Slack token", "xo" + "xb-", lambda d: f"{d.randrange(10**11)}-{token(d, 24)}"),
    (
        "Slack webhook",
        "hooks.slack" + ".com/services/",
        lambda d: f"T{token(d, 9, UPPER)}/B{token(d, 9, UPPER)}/{token(d, 24)}",
    ),
    ("Stripe key", "sk" + "_live_", lambda d: token(d, 24)),
    ("npm token", "np" + "m_", lambda d: token(d, 36)),
    ("SendGrid key", "S" + "G.", lambda d: f"{token(d, 22)}.{token(d, 43)}"),
    ("AI provider key", "sk-" + "ant-", lambda d: f"api03-{token(d, 90)}"),
    ("AI provider key", "sk" + "-", lambda d: token(d, 48)),
    ("Hugging Face token", "h" + "f_", lambda d: token(d, 34)),
    ("age key", "AGE-SECRET" + "-KEY-1", lambda d: token(d, 58, UPPER)),
    ("JSON web token", "", web_token),
    ("private key", "", private_key),
    ("private key", "", lambda d: private_key(d, "OPENSSH ")),
    ("encrypted private key", "", lambda d: private_key(d, "ENCRYPTED ")),
]


@pytest.mark.parametrize(("rule", "begins", "make"), TOKENS)
def test_a_token_is_found_on_its_line_and_only_once(rule, begins, make):
    for seed in range(25):
        secret = make(drawing(seed))
        text = f"\n\nvalue: '{begins}{secret}'\nend\n"
        (finding,) = found_in(text)
        assert (finding.rule, finding.line) == (rule, 3)
        shown = finding.excerpt
        assert not any(secret[at : at + 6] in shown for at in range(len(secret) - 6) if begins)


@pytest.mark.parametrize(
    "line",
    [
        "API_TOKEN={}",
        "export DB_SECRET={}",
        'api_key: "{}"',
        '"clientSecret": "{}",',
        "  secret_key = '{}'  # of production",
        "access-key = {}   # comment",
        'const apiKey: string = "{}";',
        "'auth_token' => '{}',",
        'settings["secret"] = "{}"',
        "Authorization: Bearer {}",
    ],
)
def test_what_is_assigned_to_a_telling_name_is_found(line):
    for seed in range(25):
        value = token(drawing(seed), 32)
        (finding,) = found_in(f"first\n{line.format(value)}\r\nlast")
        assert finding.rule in {"assigned secret", "bearer token"}
        assert finding.line == 2
        assert not any(value[at : at + 4] in finding.excerpt for at in range(len(value) - 4))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('password = "{}"', True),
        ('"db_password": "{}"', True),
        ("pwd: '{}'", True),
        ("DB_PASSWORD={}", True),
        ("password_hash = '{}'", False),
        ("password_field = '{}'", False),
        ("see the password {} there", False),
    ],
)
def test_passwords_that_people_think_of(line, found):
    secret = f"Tr0ut{'&'}Salmon7"
    assert rules(line.format(secret)) == (["hard-coded password"] if found else [])


def test_an_expression_in_code_is_no_value():
    value = token(drawing(1), 32)
    assert rules(f"token = {value}") == ["assigned secret"]
    assert rules(f"token = {value}", is_code=True) == []
    assert rules(f"call(token={value})") == []


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("postgres://keeper:{}@db.rivers.net/levels", "high"),
        ("redis://:{}@cache.rivers.net:6379", "high"),
        ("amqp://keeper:{}@localhost", "low"),
        ("https://rivers.example:8080/{}@x", None),
        ("https://{}", None),
    ],
)
def test_passwords_in_addresses(address, found):
    secret = token(drawing(3), 14)
    findings = found_in(address.format(secret))
    assert [finding.severity for finding in findings] == ([found] if found else [])
    assert not any(secret in finding.excerpt for finding in findings)


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7" + "EXAMPLE",
        "ghp_" + "x" * 36,
        "ghp_short",
        "task-" + "a1b2c3d4e5" * 4,
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        'pem.startswith("-----BEGIN RSA PRIVATE KEY-----")',
        "eyJ is how a web token begins; eyJhbGciOi.eyJzdWIi is too short to be one",
        'token = "your-token-goes-here"',
        'password = "changeme123"',
        'password = "{{ vault_password }}"',
        "password = '${DB_PASSWORD}'",
        'secret = "<replace with 32 characters>"',
        'api_key = os.environ["API_KEY"]',
        'token = "550e8400-e29b-41d4-a716-446655440000"',
        'token_type = "application/x-www-form-urlencoded2"',
        'secret_name = "prod-database-credentials-v2"',
        'next_token = "q9Zr2Xw8Lk4Vb7Nm1Tc5"',
        'publicKeyToken="q9Zr2Xw8Lk4Vb7Nm1Tc5"',
        'password: str = "password"',
        'credentials = "module.submodule.SomeClass3"',
        '"AWS::Service::ApiKey": "48205d4ffd7feba3"',
        "http://user:password@host.example",
        "https://user:{password}@host.example and https://user:$PASS@host.example",
        "ssh://git@host.example:22/x",
        "for token in tokens:\n    secret = token.value\n",
    ],
)
def test_what_only_looks_like_a_secret_is_let_be(text):
    assert rules(text) == []


def test_a_secret_that_two_rules_match_is_told_once_by_the_surer():
    value = "gh" + "p_" + token(drawing(5), 36)
    assert rules(f'github_token = "{value}"') == ["GitHub token"]


def test_findings_come_in_the_order_of_the_text():
    later = "gh" + "p_" + token(drawing(5), 36)
    found = found_in(f"a\nAPI_TOKEN={token(drawing(6), 32)}\nb\n{later}\n")
    assert [(one.line, one.rule) for one in found] == [(2, "assigned secret"), (4, "GitHub token")]


def test_what_is_encoded_like_a_web_token_but_signed_by_nothing_is_let_be():
    head = base64.urlsafe_b64encode(json.dumps({"kind": "cursor"}).encode()).decode().rstrip("=")
    _, body, signature = web_token(drawing(1)).split(".")
    assert rules(f"{head}.{body}.{signature}") == []


def test_letters_that_change_length_in_lower_case_move_nothing():
    value = token(drawing(5), 32)
    (finding,) = found_in("\u0130" * 99 + f"\nAPI_TOKEN={value}\n")
    assert (finding.line, finding.excerpt) == (2, f"API_TOKEN = {blank_out(value)}")


def test_of_many_hits_the_first_are_kept_and_all_are_counted():
    draw = drawing(0)
    text = "\n".join(f"API_TOKEN={token(draw, 32)}" for _ in range(30))
    findings, counts = to_findings(text, find_secrets(text))
    assert [finding.line for finding in findings] == list(range(1, 21))
    assert counts == {"assigned secret": 30}


@pytest.mark.parametrize("alphabet", [ALNUM, "0123456789abcdef", f"{ALNUM}+/"])
@pytest.mark.parametrize("length", [24, 32, 64])
def test_nearly_all_that_is_drawn_looks_random(alphabet, length):
    drawn = [token(drawing(seed), length, alphabet) for seed in range(200)]
    assert sum(map(looks_random, drawn)) >= (195 if length == 24 else 199)


@pytest.mark.parametrize(
    "value",
    [
        "a-name-of-several-words-2",
        "SomeClassOfTheModule3",
        "path/to/some/file_12.txt",
        "12345678901234567890",
        "abcdefghijklmnopqrstuvwxyz",
        "text/plain; charset=utf-8",
    ],
)
def test_what_people_write_does_not_look_random(value):
    assert not looks_random(value)


@pytest.mark.parametrize(
    "text",
    [
        "eyJ" * 100_000,
        "eyJ" + "a" * 1_000 + "." + "eyJ." * 50_000,
        "-----BEGIN " * 40_000,
        f"-----BEGIN {'PRIVATE'} KEY-----" * 10_000,
        "a://" * 80_000,
        "a://:" + "b" * 200_000,
        "secret" * 60_000,
        "secret_" + "a-" * 100_000,
        "token = '" * 40_000,
        "password:" + " " * 200_000,
        "bearer " * 40_000,
        "sk-" + "a-" * 100_000,
        "xoxb-" * 50_000,
    ],
    ids=lambda text: text[:12],
)
def test_v18_hostile_text_is_scanned_in_linear_time(text):
    # The limit is the runner's time-out: a pattern that goes back and forth takes hours here.
    assert found_in(text) == []
