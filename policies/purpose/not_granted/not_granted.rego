# METADATA
# title: The caller was granted this purpose
# description: |
#   The purpose of a credential or session must be one of those its principal may ever act for.
# custom:
#   code: purpose.not-granted
#   severity: high
package demesne.purpose.not_granted

deny contains reason if {
	not granted
	reason := {
		"rule": "purpose/not_granted",
		"code": "purpose.not-granted",
		"message": concat("", ["You were not granted the purpose ", input.purpose]),
		"remedy": "ask the steward to grant it, or use a credential of a purpose you have",
	}
}

granted if input.purpose in input.principal.purposes
