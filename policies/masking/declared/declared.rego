# METADATA
# title: The plans a dataset must have
# description: One for every purpose class with a table in data/masking; views are built from them at write time.
package demesne.masking.declared

import data.data.masking

# By its full name: regorus does not find functions through an import.
# A contract without columns has nothing to mask, and a plan without columns would show nothing.
plans := [declared |
	columns_named
	some class, table in masking.classes
	declared := {"purpose_class": class, "columns": data.demesne.masking.plan.columns_for(table, input.dataset.contract.columns)}
]

columns_named if {
	is_array(input.dataset.contract.columns)
	input.dataset.contract.columns != []
}
