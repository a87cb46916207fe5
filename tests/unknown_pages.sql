-- A page that the catalogue lacks is kept and counted, not an error: add it to
-- seeds/page_catalogue.csv. One row per unknown page.
{{ config(severity='warn') }}

select
    page,
    count(*) as events
from {{ ref('stg_events') }}
where page_category = 'unknown' and {{ in_tested_dates('event_date') }}
group by page
