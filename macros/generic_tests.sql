{#-
    The columns are the grain: no two rows share them, and none is null but those of `may_be_null`.
    And every row satisfies every rule; one that comes out null is broken. `rules` maps a name to SQL.
    One scan for all, as each test of its own costs more than the data does. One row per broken rule.
    With `date_column`, a build looks at the dates that it changed only, or at their weeks or snapshots as
    `period` says; with `user_column`, at the users who have an event on one of these dates. `rows_come_from`
    names a table without which the model has no row.
-#}
{% test grain(model, columns, may_be_null=[], rules={}, date_column=none, period='days', user_column=none, rows_come_from=none) %}

with

keys as (

    select
        {{ columns | join(', ') }},
        count(*) as rows_of_key
        {%- for name, rule in rules.items() %},
        count_if(not coalesce({{ rule }}, false)) as {{ name }}
        {%- endfor %}
    from {{ model }}
    where {{ is_tested_user(user_column) if user_column else in_tested(date_column, period) }}
    group by {{ columns | join(', ') }}

),

broken as (

    select
        coalesce(sum(rows_of_key - 1), 0) as one_row_per_key,
        count_if({{ columns | reject('in', may_be_null) | join(' is null or ') }} is null) as key_is_not_null
        {%- for name in rules %},
        coalesce(sum({{ name }}), 0) as {{ name }}
        {%- endfor %}
    from keys

)

{{ rules_with_rows(['one_row_per_key', 'key_is_not_null'] + rules | list) }}

{% endtest %}


{#- The rules alone, for the table that has no key. -#}
{% test rows_satisfy(model, rules, date_column=none) %}

with

broken as (

    select
        {%- for name, rule in rules.items() %}
        count_if(not coalesce({{ rule }}, false)) as {{ name }}{{ "," if not loop.last }}
        {%- endfor %}
    from {{ model }}
    where {{ in_tested(date_column) }}

)

{{ rules_with_rows(rules | list) }}

{% endtest %}


{#- One row per rule of which `broken`, one row, counts rows that break it. -#}
{% macro rules_with_rows(names) -%}
select * from (
    select stack(
        {{ names | length }}
        {%- for name in names %},
        '{{ name }}', {{ name }}
        {%- endfor %}
    ) as (broken_rule, broken_rows)
    from broken
)
where broken_rows > 0
{%- endmacro %}


{#- Each value of `column` is a value of `field` in `to`. -#}
{% test exists_in(model, column, to, field) %}

select
    {{ column }},
    count(*) as rows_found
from {{ model }}
where {{ column }} is not null
group by {{ column }}
having {{ column }} not in (select {{ field }} from {{ to }})

{% endtest %}
