-- A category that is counted and that no page has would make its figures, labels among them,
-- silently 0. One row per missing category.
{{ config(group='analytics_engineering') }}
-- depends_on: {{ ref('int_session_parts') }}
{% set code = graph.nodes['model.churn_at_scale.int_session_parts'].raw_code if execute else '' %}
{% set used = modules.re.findall("page_category (?:=|in) [(]?'([a-z_]+)'", code) | unique | list %}

with

used as (

    select explode(array(
        {% for category in used %}
        '{{ category }}'{{ ',' if not loop.last }}
        {% endfor %}
    )) as page_category

)

select used.page_category
from used
left anti join {{ ref('page_catalogue') }} as pages
    on used.page_category = pages.page_category
