# METADATA
# title: An attestation ages
# description: |
#   A session whose machine was last attested too long ago does nothing more with objects until it
#   attests again. It is never given masked rows instead.
# custom:
#   code: ReattestationRequired
#   severity: high
package demesne.attestation.stale

import data.demesne.facts

deny contains reason if {
	facts.touches_objects
	facts.attested
	not fresh
	reason := {
		"rule": "attestation/stale",
		"code": "ReattestationRequired",
		"message": "The attestation of this session is no longer fresh",
		"remedy": "attest again with the same key; the SDK's agent does so by itself while it runs",
	}
}

fresh if input.session.fresh == true
