package demesne.attestation.appraisal.synthetic_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

codes(document) := found if {
	answer := evidence.appraisal with input as document
	found := {reason.code | some reason in answer.reasons}
}

tier(document) := answer.tier if answer := evidence.appraisal with input as document

test_snp_is_affirming if {
	tier(evidence_fixtures.snp) == "affirming"
	codes(evidence_fixtures.snp) == set()
}

test_roots_of_development_are_nothing_in_production if {
	document := object.union(evidence_fixtures.snp, {"claims": {"synthetic_only": true, "hardware": false}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.synthetic-only"}
}

test_roots_of_development_are_a_warning_on_synthetic_data if {
	document := object.union(evidence_fixtures.snp, {"claims": {"synthetic_only": true, "hardware": false}, "posture": "development", "dataset_scope": [{"name": "a", "synthetic": true}]})
	tier(document) == "warning"
	codes(document) == {"attestation.synthetic-only"}
}

test_roots_of_development_open_no_real_data if {
	document := object.union(evidence_fixtures.snp, {"claims": {"synthetic_only": true, "hardware": false}, "posture": "development"})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.synthetic-only"}
}

test_silence_is_no_hardware if {
	document := object.union(evidence_fixtures.snp, {"claims": {"hardware": null}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.no-hardware"}
}

test_silence_on_synthetic_counts if {
	document := object.union(evidence_fixtures.snp, {"claims": {"synthetic_only": null}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.synthetic-only"}
}
