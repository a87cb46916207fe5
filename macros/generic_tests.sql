{#- The columns are the grain: no two rows share them, and none is null but those of `may_be_null`.
    One scan. -#}
{% test grain(model, columns, may_be_null=[]) %}

select
    {{ columns | join(', ') }},
    count(*) as rows_found
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1 {%- for column in columns if column not in may_be_null %} or {{ column }} is null {%- endfor %}

{% endtest %}


{#- Every row satisfies every rule; a rule that comes out null is broken. One scan for all rules of
    a model: each test of its own costs more than the data does. `rules` maps a name to SQL. -#}
{% test rows_satisfy(model, rules) %}

with

broken as (

    select
        {%- for name, rule in rules.items() %}
        count_if(not coalesce({{ rule }}, false)) as {{ name }}{{ "," if not loop.last }}
        {%- endfor %}
    from {{ model }}

),

rules as (

    select stack(
        {{ rules | length }}
        {%- for name in rules %},
        '{{ name }}', {{ name }}
        {%- endfor %}
    ) as (broken_rule, broken_rows)
    from broken

)

select * from rules
where broken_rows > 0

{% endtest %}


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
