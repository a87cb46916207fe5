-- How do churn, paid share and listening develop from week to week?
-- Complete weeks only, the last 104 of them; a week without users has no rates. With the 95 %
-- interval of Wilson for the churn rate (Journal of the American Statistical Association 22, 1927).
with

weeks as (

    select
        *,
        1.959964 as z,
        churned_users + z * z / 2 as middle,
        try_divide(churned_users * (active_users - churned_users), active_users) as variance,
        z * sqrt(variance + z * z / 4) as half_width
    from {{ target.schema }}_published.weekly_kpis
    where is_complete

)

select
    week_start_date,
    active_users,
    churned_users,
    churned_share,
    (middle - half_width) / (active_users + z * z) as low,
    (middle + half_width) / (active_users + z * z) as high,
    paid_share,
    listening_hours_per_user
from weeks
order by week_start_date desc
limit 104
