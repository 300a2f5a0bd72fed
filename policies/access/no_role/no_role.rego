# METADATA
# title: Some role permits it
# description: |
#   What no role's table lists for the purpose class the caller acts in is refused. This is what makes the
#   doctrine closed by default; main needs a permission as well.
# custom:
#   code: access.none
#   severity: high
package demesne.access.no_role

import data.demesne.access.role

deny contains reason if {
	count(role.permit) == 0
	reason := {
		"rule": "access/no_role",
		"code": "access.none",
		"message": "None of your roles permits this for the purpose you act for",
		"remedy": "use a credential of another purpose, or ask the steward for the role",
	}
}
