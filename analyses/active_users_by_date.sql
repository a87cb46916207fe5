-- How many users are active each day, and how many of those of four weeks is that?
select
    kpi_date,
    active_users,
    active_users_last_28_days,
    round(active_share_of_last_28_days, 3) as active_share_of_last_28_days
from {{ target.schema }}_published.daily_kpis
where is_complete
order by kpi_date
