# METADATA
# title: The plan of a purpose class
# description: |
#   One action for each column of the contract, by its label, from data/masking. A label the table does
#   not know is treated as unknown, and unknown is personal.
package demesne.masking.plan

import data.data.masking
import data.demesne.facts

# The plan of the class that asks now.
current := {"columns": columns_for(masking.classes[facts.class], input.dataset.contract.columns)}

columns_for(table, columns) := [step |
	some column in columns
	rule := object.get(table, object.get(column, "label", "unknown"), table.unknown)
	step := {"name": column.name, "action": rule.action, "params": rule.params}
]
