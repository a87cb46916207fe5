-- How many users are active each day, and in four weeks?
-- Complete dates only, the last 400 of them.
select
    kpi_date,
    active_users,
    active_users_last_28_days,
    active_share_of_last_28_days
from {{ target.schema }}_published.daily_kpis
where is_complete
order by kpi_date desc
limit 400
