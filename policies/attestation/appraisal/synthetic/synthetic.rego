# METADATA
# title: Hardware vouches, by a root that makers of hardware hold
# description: |
#   Evidence under a root of one's own (development) is a warning at most, in the development posture only and
#   only when everything in scope is synthetic. What no hardware signed is worth nothing, but for an enrolled
#   TPM, of which its own rule speaks.
# custom:
#   code: attestation.synthetic-only
#   severity: critical
package demesne.attestation.appraisal.synthetic

import data.demesne.attestation.appraisal.submodules

doubts contains doubt if {
	some name, claims in submodules.proven
	not real(claims)
	not harmless(claims)
	doubt := {
		"submod": name,
		"claim": "hardware",
		"tier": "contraindicated",
		"rule": "attestation/appraisal/synthetic",
		"code": "attestation.synthetic-only",
		"message": "The evidence rests on a root for development, or does not say that it does not",
		"remedy": "run the job in a confidential machine, or name synthetic datasets in a development zone",
	}
}

doubts contains doubt if {
	some name, claims in submodules.proven
	harmless(claims)
	doubt := {
		"submod": name,
		"claim": "hardware",
		"tier": "warning",
		"rule": "attestation/appraisal/synthetic",
		"code": "attestation.synthetic-only",
		"message": "The evidence rests on a root for development: it opens synthetic data only",
		"remedy": "run the job in a confidential machine",
	}
}

doubts contains doubt if {
	some name, claims in submodules.proven
	real(claims)
	claims.kind != "tpm"
	not in_hardware(claims)
	doubt := {
		"submod": name,
		"claim": "hardware",
		"tier": "contraindicated",
		"rule": "attestation/appraisal/synthetic",
		"code": "attestation.no-hardware",
		"message": "No hardware vouches for it",
		"remedy": "run the job in a confidential machine",
	}
}

real(claims) if claims.synthetic_only == false

in_hardware(claims) if claims.hardware == true

harmless(claims) if {
	claims.synthetic_only == true
	input.posture == "development"
	scope_synthetic
}

scope_synthetic if {
	is_array(input.dataset_scope)
	input.dataset_scope != []
	every dataset in input.dataset_scope {
		dataset.synthetic == true
	}
}
