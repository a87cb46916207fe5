-- Which share of the active users cancels each week?
select
    week_start_date,
    active_users,
    churned_users,
    round(churned_share, 4) as churned_share
from {{ target.schema }}_published.weekly_kpis
where is_complete
order by week_start_date
