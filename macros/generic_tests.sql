{#- The columns are the grain: no two rows share them, and none is null but those of `may_be_null`.
    One scan. With `date_column`, a build looks at the dates that it changed only. -#}
{% test grain(model, columns, may_be_null=[], date_column=none) %}

select
    {{ columns | join(', ') }},
    count(*) as rows_found
from {{ model }}
where {{ in_tested_dates(date_column) if date_column else 'true' }}
group by {{ columns | join(', ') }}
having count(*) > 1 {%- for column in columns if column not in may_be_null %} or {{ column }} is null {%- endfor %}

{% endtest %}


{#- Every row satisfies every rule; a rule that comes out null is broken. One scan for all rules of
    a model: each test of its own costs more than the data does. `rules` maps a name to SQL. -#}
{% test rows_satisfy(model, rules, date_column=none) %}

with

broken as (

    select
        {%- for name, rule in rules.items() %}
        count_if(not coalesce({{ rule }}, false)) as {{ name }}{{ "," if not loop.last }}
        {%- endfor %}
    from {{ model }}
    where {{ date_column ~ ' is null or ' ~ in_tested_dates(date_column) if date_column else 'true' }}

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
