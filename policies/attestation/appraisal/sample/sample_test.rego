package demesne.attestation.appraisal.sample_test

import data.demesne.evidence
import data.demesne.evidence_fixtures

codes(document) := found if {
	answer := evidence.appraisal with input as document
	found := {reason.code | some reason in answer.reasons}
}

tier(document) := answer.tier if answer := evidence.appraisal with input as document

test_sample_is_warning if {
	tier(evidence_fixtures.sample) == "warning"
	codes(evidence_fixtures.sample) == {"attestation.sample-evidence"}
}

test_sample_in_production if {
	document := object.union(evidence_fixtures.sample, {"posture": "production"})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.sample-evidence", "attestation.sample-posture"}
}

test_sample_with_real_data if {
	document := object.union(evidence_fixtures.sample, {"dataset_scope": [{"name": "a", "synthetic": true}, {"name": "b", "synthetic": false}]})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.sample-evidence", "attestation.sample-scope"}
}

test_sample_without_scope if {
	document := object.union(evidence_fixtures.sample, {"dataset_scope": []})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.sample-evidence", "attestation.sample-scope"}
}

test_sample_that_hides_it if {
	document := object.union(evidence_fixtures.sample, {"claims": {"synthetic_only": false}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.no-rule"}
}
