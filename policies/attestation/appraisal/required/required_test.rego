package demesne.attestation.appraisal.required_test

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

test_a_missing_gpu_is_named if {
	document := object.union(evidence_fixtures.snp, {"purpose": "gpu-training"})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.submodule-missing"}
}

test_an_unknown_purpose_is_refused if {
	document := object.union(evidence_fixtures.snp, {"purpose": "curiosity"})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.purpose"}
}

test_an_unknown_posture_is_refused if {
	document := object.union(evidence_fixtures.snp, {"posture": "test"})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.purpose"}
}

test_no_scope_is_refused if {
	document := object.union(evidence_fixtures.snp, {"dataset_scope": null})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.purpose"}
}

test_the_gpu_that_is_there_suffices if tier(object.union(evidence_fixtures.gpu, {"purpose": "gpu-training"})) == "affirming"
