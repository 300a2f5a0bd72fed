package demesne.attestation.appraisal.interactive_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

codes(document) := found if {
	answer := evidence.appraisal with input as document
	found := {reason.code | some reason in answer.reasons}
}

tier(document) := answer.tier if answer := evidence.appraisal with input as document

test_space_is_affirming if {
	tier(evidence_fixtures.space) == "affirming"
	codes(evidence_fixtures.space) == set()
}

test_a_console_is_a_warning if {
	document := object.union(evidence_fixtures.azure, {"claims": {"platform": {"console": true}}})
	tier(document) == "warning"
	codes(document) == {"attestation.interactive"}
}

test_silence_is_a_console if {
	document := object.union(evidence_fixtures.azure, {"claims": {"platform": {"console": null}}})
	tier(document) == "warning"
	codes(document) == {"attestation.interactive"}
}

test_another_command_is_a_warning if {
	document := object.union(evidence_fixtures.space, {"claims": {"platform": {"cmd_override": true}}})
	tier(document) == "warning"
	codes(document) == {"attestation.interactive"}
}

test_another_environment_is_a_warning if {
	document := object.union(evidence_fixtures.space, {"claims": {"platform": {"env_override": ["LD_PRELOAD"]}}})
	tier(document) == "warning"
	codes(document) == {"attestation.interactive"}
}
