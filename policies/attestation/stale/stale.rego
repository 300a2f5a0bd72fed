# METADATA
# title: An attestation ages
# description: |
#   A session whose machine was last attested too long ago does nothing more, neither with objects nor
#   with lists and records, until it attests again. It is never given masked rows instead. A revoked
#   session is never fresh, so that stolen credentials end with it.
# custom:
#   code: ReattestationRequired
#   severity: high
package demesne.attestation.stale

import data.demesne.facts

deny contains reason if {
	concerned
	facts.attested
	not fresh
	reason := {
		"rule": "attestation/stale",
		"code": "ReattestationRequired",
		"message": "The attestation of this session is no longer fresh",
		"remedy": "attest again with the same key; the SDK's agent does so by itself while it runs",
	}
}

# All but `session`: asking for a challenge is how a session becomes fresh again.
concerned if facts.touches_objects

concerned if facts.looks_only

fresh if input.session.fresh == true
