-- Which users are likeliest to cancel, and why?
-- The first thousand of those who have not cancelled since; `all_users` counts the others too.
select
    risk_rank,
    user_id,
    churn_probability,
    level,
    state,
    platform,
    last_event_at,
    reason_1,
    reason_2,
    reason_3,
    snapshot_date,
    distrust_reason,
    count(*) over () as all_users
from {{ target.schema }}_published.churn_risk
where not is_churned_since
order by risk_rank
limit 1000
