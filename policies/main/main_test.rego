package demesne.main_test

import data.demesne.fixtures
import data.demesne.main

test_masked_for_an_analyst if {
	answer := main.decision with input as fixtures.analyst_reads
	answer == {
		"allow": true,
		"view": "masked",
		"purpose_class": "analytics",
		"plan": {"columns": [
			{"name": "name", "action": "mask-to-default", "params": {}},
			{"name": "email", "action": "pseudonymize", "params": {}},
			{"name": "birth_date", "action": "generalize", "params": {"to": "year"}},
			{"name": "postcode", "action": "generalize", "params": {"prefix": 2}},
			{"name": "mystery", "action": "null", "params": {}},
			{"name": "visits", "action": "keep", "params": {}},
		]},
		"label": "personal",
		"placement": null,
		"obligations": [],
		"reasons": [],
		"allow_by": ["access/role:analyst"],
	}
}

test_raw_for_an_attested_session if {
	answer := main.decision with input as fixtures.trainer_reads
	answer == {
		"allow": true,
		"view": "raw",
		"purpose_class": "training",
		"plan": null,
		"label": "personal",
		"placement": null,
		"obligations": ["recheck-session"],
		"reasons": [],
		"allow_by": ["access/role:trainer"],
	}
}

test_a_model_is_personal_and_stays if {
	answer := main.decision with input as fixtures.trainer_writes
	answer == {
		"allow": true,
		"view": "none",
		"purpose_class": "training",
		"plan": null,
		"label": "personal",
		"placement": ["de"],
		"obligations": [],
		"reasons": [],
		"allow_by": ["access/role:trainer"],
	}
}

test_open_after_a_named_declassification if {
	answer := main.decision with input as fixtures.analyst_reads_declassified
	answer.view == "open"
	answer.plan == null
}

test_an_unnamed_declassification_opens_nothing if {
	answer := main.decision with input as object.union(fixtures.analyst_reads_declassified, {"object": {"declassified": null}})
	not answer.allow
	codes(answer) == {"label.inherited"}
}

test_what_a_clean_run_writes_into_open_data_is_open if {
	answer := main.decision with input as object.union(fixtures.steward_writes, {"dataset": {"label": "none"}})
	answer.allow
	answer.label == "none"
	answer.placement == null
}

test_a_writer_gets_the_facts_and_not_the_data if {
	head := main.decision with input as fixtures.steward_heads
	head.allow
	head.view == "writer"
	read := main.decision with input as object.union(fixtures.steward_heads, {"request": {"action": "read"}})
	codes(read) == {"access.steward-reads"}
}

test_refusals_carry_every_reason if {
	answer := main.decision with input as object.union(fixtures.analyst_reads, {
		"principal": {"jurisdiction": "us"},
		"purpose": "marketing",
		"zone": {"state": "closed"},
	})
	not answer.allow
	answer.view == "none"
	answer.plan == null
	codes(answer) == {"purpose.not-in-contract", "residency.principal", "residency.zone-closed"}
}

test_stale_is_never_masked if {
	answer := main.decision with input as object.union(fixtures.trainer_reads, {"session": {"fresh": false}})
	not answer.allow
	codes(answer) == {"ReattestationRequired"}
}

test_nothing_is_refused if {
	answer := main.decision with input as {}
	answer.allow == false
	answer.view == "none"
}

# Each field taken away, one at a time: no request gets more for saying less.
test_a_missing_field_refuses if {
	every request in [fixtures.analyst_reads, fixtures.trainer_reads, fixtures.trainer_writes, fixtures.steward_heads] {
		every field, _ in request {
			answer := main.decision with input as object.remove(request, [field])
			answer.allow == false
		}
	}
}

codes(answer) := {reason.code | some reason in answer.reasons}
