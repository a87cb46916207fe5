-- How do active users develop from week to week?
select
    week_start_date,
    active_users,
    active_users - lag(active_users) over (order by week_start_date) as change_to_week_before
from {{ target.schema }}_published.weekly_kpis
where is_complete
order by week_start_date
