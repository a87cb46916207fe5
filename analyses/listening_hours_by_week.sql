-- How many hours do users listen, in all and each?
select
    week_start_date,
    round(listening_milliseconds / 3600000, 1) as listening_hours,
    round(listening_hours_per_user, 2) as listening_hours_per_user
from {{ target.schema }}_published.weekly_kpis
where is_complete
order by week_start_date
