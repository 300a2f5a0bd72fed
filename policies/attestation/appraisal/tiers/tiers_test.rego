package demesne.attestation.appraisal.tiers_test

test_the_worst_counts if {
	data.demesne.attestation.appraisal.tiers.worst({"affirming", "none"}) == "affirming"
	data.demesne.attestation.appraisal.tiers.worst({"affirming", "warning"}) == "warning"
	data.demesne.attestation.appraisal.tiers.worst({"affirming", "warning", "contraindicated"}) == "contraindicated"
	data.demesne.attestation.appraisal.tiers.worst(set()) == "none"
}

test_what_a_table_does_not_list_is_contraindicated if {
	data.demesne.attestation.appraisal.tiers.listed({"a": "warning"}, "a") == "warning"
	data.demesne.attestation.appraisal.tiers.listed({"a": "warning"}, "b") == "contraindicated"
	data.demesne.attestation.appraisal.tiers.listed({"a": "excellent"}, "a") == "contraindicated"
}

test_the_vector_has_eight_claims if count(data.demesne.attestation.appraisal.tiers.vector_claims) == 8
