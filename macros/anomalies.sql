{#- Condition: a date of the var `accepted_dates`, whose items are dates or, as 2018-10-05/2018-10-09,
    the first and last of several. -#}
{% macro is_accepted_date(column) -%}
    {%- set conditions = [] -%}
    {%- set accepted = var('accepted_dates') -%}
    {%- for item in (accepted if accepted is sequence and accepted is not string else [accepted]) -%}
        {%- set ends = (item | string).split('/') -%}
        {%- do conditions.append(
            column ~ " between " ~ sql_date(ends | first) ~ " and " ~ sql_date(ends | last)
        ) -%}
    {%- endfor -%}
    {{ "(" ~ conditions | join(' or ') ~ ")" if conditions else 'false' }}
{%- endmacro %}


{#- A date as SQL; one clear sentence where it is none. -#}
{% macro sql_date(text) -%}
    {%- if not modules.re.fullmatch('\\d{4}-\\d{2}-\\d{2}', text | string) -%}
        {{ exceptions.raise_compiler_error(text ~ " is no date; write it as 2018-10-05") }}
    {%- endif -%}
    date '{{ text }}'
{%- endmacro %}
