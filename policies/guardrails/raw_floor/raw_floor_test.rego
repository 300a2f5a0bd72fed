package demesne.guardrails.raw_floor_test

import data.demesne.fixtures
import data.demesne.guardrails.raw_floor
import data.demesne.main

codes(document) := found if {
	refused := raw_floor.deny with input as document
	found := {reason.code | some reason in refused}
}

test_permits_affirmed_hardware if codes(fixtures.machine_reads) == set()

test_permits_sample_in_development if codes(fixtures.trainer_reads) == set()

test_does_not_concern_masked_data if codes(fixtures.analyst_reads) == set()

test_refuses_an_identity_session if codes(fixtures.identity_reads) == {"attestation.floor"}

test_refuses_an_identity_session_in_development if {
	codes(object.union(fixtures.trainer_reads, {"session": {"kind": "identity"}})) == {"attestation.floor"}
}

test_refuses_sample_in_production if codes(fixtures.sample_reads) == {"attestation.floor"}

test_refuses_each_claim_that_is_less if {
	every session in [
		{"tier": "warning"},
		{"tier": "none"},
		{"claims": {"hardware": false}},
		{"claims": {"hardware": "true"}},
		{"claims": {"synthetic_only": true}},
		{"claims": {"synthetic_only": null}},
		{"claims": {"debug": true}},
		{"claims": {"kind": "sample"}},
	] {
		codes(object.union(fixtures.machine_reads, {"session": session})) == {"attestation.floor"}
	}
}

test_refuses_what_says_nothing if {
	every claim in ["kind", "hardware", "synthetic_only", "debug"] {
		claims := object.remove(fixtures.machine_reads.session.claims, [claim])
		session := object.union(object.remove(fixtures.machine_reads.session, ["claims"]), {"claims": claims})
		codes(object.union(object.remove(fixtures.machine_reads, ["session"]), {"session": session})) == {"attestation.floor"}
	}
}

test_refuses_an_unknown_posture_as_production if {
	codes(object.union(fixtures.sample_reads, {"zone": {"posture": "test"}})) == {"attestation.floor"}
}

test_the_same_request_by_a_machine_is_permitted if {
	answer := main.decision with input as fixtures.machine_reads
	answer.allow
	answer.view == "raw"
}
