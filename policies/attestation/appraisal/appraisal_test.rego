package demesne.attestation.appraisal_test

import data.demesne.attestation.appraisal

sample := {
	"claims": {"kind": "sample", "tee": "none", "measurement": "00", "debug": false, "synthetic_only": true, "hardware": false},
	"posture": "development",
	"dataset_scope": [{"name": "claims", "synthetic": true}, {"name": "models", "synthetic": true}],
}

tier(document) := given if {
	given := appraisal.tier with input as document
}

codes(document) := found if {
	reasons := appraisal.reasons with input as document
	found := {reason.code | some reason in reasons}
}

test_sample_is_a_warning_at_most if {
	tier(sample) == "warning"
	codes(sample) == set()
}

test_sample_in_production if {
	document := object.union(sample, {"posture": "production"})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.sample-posture"}
}

test_sample_with_real_data_in_scope if {
	document := object.union(sample, {"dataset_scope": [{"name": "a", "synthetic": true}, {"name": "b", "synthetic": false}]})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.sample-scope"}
}

test_sample_without_scope if {
	document := object.union(sample, {"dataset_scope": []})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.sample-scope"}
}

test_sample_that_hides_it if {
	document := object.union(sample, {"claims": {"synthetic_only": false}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.no-rule"}
}

test_an_unknown_kind if {
	document := object.union(sample, {"claims": {"kind": "new"}})
	tier(document) == "contraindicated"
	codes(document) == {"attestation.no-rule"}
}

test_nothing if tier({}) == "contraindicated"
