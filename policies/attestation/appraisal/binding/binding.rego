# METADATA
# title: Evidence answers this very challenge
# description: |
#   Evidence that was not compared with nonce, key, purpose and scope may be anybody's, and be old.
# custom:
#   code: attestation.not-bound
#   severity: critical
package demesne.attestation.appraisal.binding

import data.demesne.attestation.appraisal.submodules

doubts contains doubt if {
	some name, _ in submodules.proven
	not bound(name)
	doubt := {
		"submod": name,
		"claim": "instance-identity",
		"tier": "contraindicated",
		"rule": "attestation/appraisal/binding",
		"code": "attestation.not-bound",
		"message": "The evidence is not bound to this challenge and key",
		"remedy": "make evidence over the report data of the challenge, for every device as well",
	}
}

bound(name) if submodules.platform[name].bound == true
