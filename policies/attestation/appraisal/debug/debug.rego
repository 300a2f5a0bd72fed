# METADATA
# title: Nobody can look inside
# description: |
#   A guest that its host may debug is signed like any other; so only a claim that says otherwise counts.
# custom:
#   code: attestation.debug
#   severity: critical
package demesne.attestation.appraisal.debug

import data.demesne.attestation.appraisal.submodules

doubts contains doubt if {
	some name, claims in submodules.proven
	not closed(claims)
	doubt := {
		"submod": name,
		"claim": "configuration",
		"tier": "contraindicated",
		"rule": "attestation/appraisal/debug",
		"code": "attestation.debug",
		"message": "It can be debugged, or does not say that it cannot",
		"remedy": "start it without debugging",
	}
}

closed(claims) if claims.debug == false
