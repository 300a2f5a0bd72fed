# METADATA
# title: A TPM by itself
# description: |
#   It measures what was booted and keeps no memory secret from whoever runs the machine: a warning at most. There
#   is no root for all TPMs, so only an enrolled key counts, and only with the PCRs that its enrolment fixed.
# custom:
#   code: attestation.tpm-enrolment
#   severity: critical
package demesne.attestation.appraisal.tpm

import data.demesne.attestation.appraisal.submodules

affirms contains [name, claim] if {
	some name, _ in quotes
	enrolled(name)
	some claim in ["instance-identity", "configuration"]
}

quotes[name] := claims if {
	some name, claims in submodules.proven
	claims.kind == "tpm"
}

doubts contains doubt if {
	some name, _ in quotes
	doubt := {
		"submod": name,
		"claim": "hardware",
		"tier": "warning",
		"rule": "attestation/appraisal/tpm",
		"code": "attestation.tpm-alone",
		"message": "A TPM alone measures a boot and keeps no memory secret",
		"remedy": "run the job in a confidential machine",
	}
}

doubts contains doubt if {
	some name, _ in quotes
	not enrolled(name)
	doubt := {
		"submod": name,
		"claim": "instance-identity",
		"tier": "contraindicated",
		"rule": "attestation/appraisal/tpm",
		"code": "attestation.tpm-enrolment",
		"message": "The TPM's key is not enrolled with a policy of PCRs",
		"remedy": "enrol the key with the PCRs that it must quote",
	}
}

# The verifier knows enrolled keys only, and says which PCRs it compared with the key's policy.
enrolled(name) if {
	is_string(submodules.platform[name].key)
	submodules.platform[name].key != ""
	is_array(submodules.platform[name].pcr_policy)
	count(submodules.platform[name].pcr_policy) > 0
}
