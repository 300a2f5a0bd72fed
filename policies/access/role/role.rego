# METADATA
# title: What a role may ask for
# description: |
#   The only rule that permits; all others refuse. The table is data/access/data.json: a role permits its
#   actions only while the caller acts in one of the role's purpose classes.
package demesne.access.role

import data.data.access
import data.demesne.facts

permit contains concat("", ["access/role:", role]) if {
	some role in input.principal.roles
	facts.action in access.roles[role].actions
	facts.class in access.roles[role].classes
}
