"""The activation gate: which calls it sees, and that neither strings nor comments hide or fake one."""

import pytest

from gateway.decide.bundle import bundle_of
from gateway.decide.engine import BundleRefused
from gateway.decide.gate import calls, check_builtins


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ("x := count([1])", {"count"}),
        ("x := http.send({})", {"http.send"}),
        ("x := http.send (\n{})", {"http.send"}),
        ('x := "http.send("', set()),
        ('x := "\\"" \ny := http.send({})', {"http.send"}),
        ("x := `http.send(` \ny := count([])", {"count"}),
        ("# http.send(\nx := 1", set()),
        ('x := "#"\ny := http.send({})', {"http.send"}),
        ("f(a) := a\nx := f(1)", set()),
        ("x if not glob.match(input.a, [], input.b)", {"glob.match"}),
        ("x := data.demesne.masking.plan.columns_for(1, 2)", set()),
        ("x if {\n\tnot (count([]) == 1)\n}", {"count"}),
    ],
)
def test_calls(body: str, seen: set[str]) -> None:
    assert calls(f"package demesne.x\n\n{body}\n") == seen


def test_imported_functions_are_the_doctrines_own() -> None:
    assert calls("package a\n\nimport data.demesne.masking.plan\n\nx := plan.f(1)\n") == set()
    assert calls("package a\n\nimport data.demesne.masking.plan as p\n\nx := p.f(plan.f(1))\n") == {"plan.f"}


@pytest.mark.parametrize("call", ['sprintf("%s", [1])', "time.now_ns()", "http.send({})", "opa.runtime()"])
def test_what_is_not_listed_is_refused(call: str) -> None:
    bundle = bundle_of([("a.rego", f"package a\n\nx := {call}\n")], {}, ("count",))
    with pytest.raises(BundleRefused, match=r"a\.rego"):
        check_builtins(bundle)


def test_the_network_is_refused_even_when_listed() -> None:
    bundle = bundle_of([("a.rego", "package a\n\nx := http.send({})\n")], {}, ("http.send",))
    with pytest.raises(BundleRefused):
        check_builtins(bundle)


def test_an_interpolated_string_is_refused() -> None:
    bundle = bundle_of([("a.rego", 'package a\n\nx := $"{http.send({})}"\n')], {}, ())
    with pytest.raises(BundleRefused, match="interpolated"):
        check_builtins(bundle)
