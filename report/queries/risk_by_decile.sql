-- How is the risk spread over today's users?
select
    risk_decile,
    count(*) as users,
    avg(churn_probability) as mean_probability,
    min(churn_probability) as lowest_probability,
    max(churn_probability) as highest_probability,
    sum(churn_probability) as expected_cancellations
from {{ target.schema }}_published.churn_risk
group by risk_decile
order by risk_decile
