# METADATA
# title: An attested session never gets masked rows
# description: |
#   The view rule cannot choose masked for an attested session; this says so a second time, for the day
#   somebody edits that rule.
# custom:
#   code: attestation.never-masked
#   severity: critical
package demesne.guardrails.never_masked_when_attested

import data.demesne.access.view
import data.demesne.facts

deny contains reason if {
	facts.attested
	view.view == "masked"
	reason := {
		"rule": "guardrails/never_masked_when_attested",
		"code": "attestation.never-masked",
		"message": "An attested session was about to be answered with masked rows",
		"remedy": "this is a fault of the doctrine: tell the compliance team",
	}
}
