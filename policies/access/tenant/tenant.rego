# METADATA
# title: Nobody reaches into another tenant
# description: |
#   The tenant comes from the credential, the name from the request; they must be the same.
# custom:
#   code: access.tenant
#   severity: critical
package demesne.access.tenant

deny contains reason if {
	not same_tenant
	reason := {
		"rule": "access/tenant",
		"code": "access.tenant",
		"message": "There is no such dataset for you",
		"remedy": "check the name and the credentials",
	}
}

same_tenant if input.principal.tenant == input.request.ref.tenant
